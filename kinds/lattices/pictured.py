"""What pictures show of a lattice, as plain arrays. Nothing here imports Matplotlib, as nothing is drawn yet."""

from kinds.real.pictured import TargetPicture


class LatticePicture(TargetPicture):
    """A lattice is shown by its magnetisation a site, in cells from −1 to 1."""

    @property
    def panels(self) -> str:
        """What draws its panels."""
        return "kinds.lattices.panels.MagnetisationPanels"
