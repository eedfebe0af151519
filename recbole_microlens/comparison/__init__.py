"""Many runs and one table: cells, the paper's tables, running what is missing, searching hyper-parameters."""
