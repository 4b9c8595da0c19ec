"""The model room: from an image's bytes to its labels.

`prepare` decodes and scales an image, a `Classifier` turns a batch of images into probabilities, `top` picks
the labels. A model is a folder (`folder`), found by name (`registry`) and made by `importing`. The adapters
`openvino_cpu` and `onnx_runtime` are imported only where they run, because their runtimes are heavy. Nothing
is imported here, so that the web tier reads an image's header without numpy.
"""
