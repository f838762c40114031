"""The checks of the policies: grids, sharing, placements, rank allocations and the rest."""
