"""The model room: from an image's bytes to what is in it.

`prepare` decodes and scales an image, a `Classifier` turns a batch of them into probabilities, `top` picks
the labels. A model is a folder (`folder`), found by name (`registry`); `importing` makes one. The adapters
`openvino_cpu` and `onnx_runtime` are imported only by whoever runs them, because their runtimes are heavy;
and nothing is imported here, so that the web tier reads an image's header without numpy.
"""
