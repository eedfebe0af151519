"""The two halves of a model as ONNX files: content to item vectors, histories to user vectors."""
