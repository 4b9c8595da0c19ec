"""What records the controller's decisions, and explains them."""
