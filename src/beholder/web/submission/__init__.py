"""What happens to an image on its way in: read, check, admit, store and send, wait for the reply."""
