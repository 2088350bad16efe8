"""From labelled text to an int8 bundle (extra ``distill``: PyTorch). Features are those that serving computes."""
