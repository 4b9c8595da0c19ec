"""Decoding: the web tier checks an image's header, the worker decodes its pixels.

`header` and the modules of the formats import neither a codec nor an array library, so that the web process
stays small; `decode` and `pixels` import the codecs.
"""
