"""Models in the forms that other programs take, each checked by loading it back."""
