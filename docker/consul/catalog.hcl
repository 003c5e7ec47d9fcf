# catalog-api announces itself and follows the store's settings.
service "catalog-api" { policy = "write" }
key_prefix "film-store/" { policy = "read" }
