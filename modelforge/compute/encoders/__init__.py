"""What makes BERT and T5 faster: dropout, and the parts of a T5 that cast or copy too much."""
