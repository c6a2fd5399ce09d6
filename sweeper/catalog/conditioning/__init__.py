"""How networks are told of classes and of other images."""
