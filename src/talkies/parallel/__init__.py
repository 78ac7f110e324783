"""Several processes: meshes, sharding, sequence parallelism, and Lightning's strategies."""
