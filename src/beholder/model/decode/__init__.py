"""From bytes to pixels: headers are checked in the web tier, pixels are decoded in the worker.

`header` and the one module per format that it uses import neither a codec nor an array library, so that the
web process stays small; `decode` and `pixels` bring the codecs in.
"""
