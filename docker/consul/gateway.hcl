# gateway follows the instances of catalog-api.
service "catalog-api" { policy = "read" }
node_prefix "" { policy = "read" }
