# orders-api announces itself, looks catalog-api up and follows the store's settings.
service "orders-api" { policy = "write" }
service "catalog-api" { policy = "read" }
node_prefix "" { policy = "read" }
key_prefix "film-store/" { policy = "read" }
