module testbed/shop

go 1.24.0
