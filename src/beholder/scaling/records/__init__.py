"""Records of the controller's decisions, and their explanation."""
