"""What is to be trained: the study, its runs, and the curriculum and the rates of each, with nothing left open."""
