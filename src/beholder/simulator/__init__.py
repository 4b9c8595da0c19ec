"""The simulator: the scaling policies of the field and ours, in a world on a virtual clock."""
