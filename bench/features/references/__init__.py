"""References: mean, covariance and features of real images, with what makes, reads and keeps them."""
