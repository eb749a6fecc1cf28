module testbed/demo

go 1.25.0
