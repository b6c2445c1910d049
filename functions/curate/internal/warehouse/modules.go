package warehouse

import (
	_ "github.com/apache/iceberg-go/catalog/rest"
	_ "github.com/apache/iceberg-go/catalog/sql"
	_ "github.com/apache/iceberg-go/table"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/trinodb/trino-go-client/trino"
)
