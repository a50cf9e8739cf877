"""What makes a decoder such as Llama faster: whole layers as one step, batches without repetition, answers."""
