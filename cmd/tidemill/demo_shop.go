package main

import "net/url"

// derivedTable is the demo's SQL: how many orders and pieces each customer has.
const derivedTable = `
CREATE TABLE ORDERS WITH (CDC = 'shop.inventory.orders');
CREATE TABLE ORDERS_BY_CUSTOMER AS
  SELECT PURCHASER, COUNT(*) AS ORDERS, SUM(QUANTITY) AS PIECES FROM ORDERS GROUP BY PURCHASER EMIT CHANGES;`

// derivedTruth is what PostgreSQL says of the same question.
const derivedTruth = `SELECT purchaser::text, count(*)::text, sum(quantity)::text FROM inventory.orders GROUP BY purchaser`

func shopTopic(table string) string { return "shop.inventory." + table }

// warehouseTable is the table the sink makes of a topic.
func warehouseTable(table string) string { return "shop_inventory_" + table }

func shopTopics() []string {
	topics := make([]string, len(shopTables))
	for i, t := range shopTables {
		topics[i] = shopTopic(t)
	}
	return topics
}

// shopConnector is the configuration that captures the shop.
func (d *devStack) shopConnector() map[string]string {
	u, _ := url.Parse(d.postgres.DSN("postgres"))
	password, _ := u.User.Password()
	return map[string]string{
		"connector.class":     "io.debezium.connector.postgresql.PostgresConnector",
		"tasks.max":           "1",
		"database.hostname":   u.Hostname(),
		"database.port":       u.Port(),
		"database.user":       u.User.Username(),
		"database.password":   password,
		"database.dbname":     "postgres",
		"topic.prefix":        "shop",
		"plugin.name":         "pgoutput",
		"schema.include.list": "inventory",
	}
}

// warehouseSink is the configuration that copies the shop's topics into the
// database warehouse.
func (d *devStack) warehouseSink() map[string]string {
	return map[string]string{
		"connector.class":  "io.debezium.connector.jdbc.JdbcSinkConnector",
		"tasks.max":        "1",
		"topics.regex":     `shop\.inventory\..*`,
		"connection.url":   d.postgres.DSN("warehouse"),
		"insert.mode":      "upsert",
		"delete.enabled":   "true",
		"primary.key.mode": "record_key",
		"schema.evolution": "basic",
	}
}
