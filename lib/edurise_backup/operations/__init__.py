"""The operations of the product: START HERE. Parts are joined here and nowhere else."""
