"""Any server that speaks S3, asked once and patiently: what a store, a source and a restore into a bucket stand on."""
