"""A Flower app whose clients have trained already."""
