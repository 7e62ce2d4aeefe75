"""What several rooms of science share: seeds and noise, learning-rate schedules, precision, batches, picture grids."""
