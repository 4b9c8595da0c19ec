"""The simulator: the scaling laws of the field and ours, in a world on a virtual clock."""
