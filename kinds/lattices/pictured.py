"""What pictures show of a lattice, as plain arrays: it is imported where nothing is drawn, and imports no Matplotlib."""

from kinds.real.pictured import TargetPicture


class LatticePicture(TargetPicture):
    """A lattice is shown by its magnetisation a site, in cells from −1 to 1."""

    @property
    def panels(self) -> str:
        """What draws its panels."""
        return "kinds.lattices.panels.MagnetisationPanels"
