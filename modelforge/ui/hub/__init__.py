"""The Hub tab: publish a model, and bring a model or a dataset from there."""
