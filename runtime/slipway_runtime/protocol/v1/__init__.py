"""Version 1 of the inference protocol: TensorFlow Serving's REST interface, which KServe speaks as well."""
