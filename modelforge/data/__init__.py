"""file -> rows -> mapped columns -> checked -> split -> dataset -> what the model sees."""
