"""The settings of images, one line of the config block."""

import functools
from dataclasses import dataclass

from core.settings import Need, Settings
from core.settings import setting as any_setting

# Every one of them tells targets apart.
setting = functools.partial(any_setting, affects=("target",), told="row")

DATA_SETS = ("IMAGE_MNIST", "IMAGE_FASHION_MNIST")
_IMAGES = Need("with images", lambda config: config.law == "pixels", 'set TARGET_TYPE = "IMAGE_DIGITS"')
_FOLDER = Need(
    "with MNIST or Fashion-MNIST", lambda config: config.target_type in DATA_SETS, 'set TARGET_TYPE = "IMAGE_MNIST"'
)
_FILE = Need(
    "with IMAGE_CUSTOM", lambda config: config.target_type == "IMAGE_CUSTOM", 'set TARGET_TYPE = "IMAGE_CUSTOM"'
)


@dataclass(frozen=True)
class Config(Settings, of="IMAGES"):
    """Settings of images."""

    folder: str = setting("", "with the IDX files, fetched if missing; empty: a private folder", needs=_FOLDER)
    labels: tuple[int, ...] = setting((), "classes that are kept; (): all", needs=_IMAGES)
    anomaly_labels: tuple[int, ...] = setting((), "classes kept out of training, to be found", needs=_IMAGES)
    file: str = setting("", ".npy or .npz [n, H, W(, C)], or folder of PNG or JPEG", needs=_FILE)
