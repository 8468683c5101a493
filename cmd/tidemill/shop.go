package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
)

// shopTables are the demo's tables, in the order in which foreign keys allow them
// to be filled.
var shopTables = []string{"customers", "products", "products_on_hand", "orders"}

// shopSchema makes the little shop of the demo.
const shopSchema = `
CREATE SCHEMA inventory;
CREATE TABLE inventory.customers (
  id serial PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, email text NOT NULL UNIQUE);
ALTER SEQUENCE inventory.customers_id_seq RESTART WITH 1001;
CREATE TABLE inventory.products (
  id serial PRIMARY KEY, name text NOT NULL, description text, weight numeric(8,3), listed boolean NOT NULL DEFAULT true);
ALTER SEQUENCE inventory.products_id_seq RESTART WITH 101;
CREATE TABLE inventory.products_on_hand (
  product_id int PRIMARY KEY REFERENCES inventory.products(id), quantity int NOT NULL, counted_at timestamp(6) NOT NULL DEFAULT now());
CREATE TABLE inventory.orders (
  id serial PRIMARY KEY, order_date date NOT NULL DEFAULT current_date, purchaser int NOT NULL REFERENCES inventory.customers(id),
  quantity int NOT NULL, product_id int NOT NULL REFERENCES inventory.products(id));
ALTER SEQUENCE inventory.orders_id_seq RESTART WITH 10001;
INSERT INTO inventory.customers (first_name, last_name, email) VALUES
  ('Nora','Brandt','nora@example.com'), ('Luis','Ortega','luis@example.com'),
  ('Mei','Tanaka','mei@example.com'), ('Anne','Keller','anne@example.com');
INSERT INTO inventory.products (name, description, weight) VALUES
  ('kettle','steel, 1.7 l',1.200), ('teapot','cast iron',2.450), ('mug','stoneware, grey',0.340),
  ('strainer','fine mesh',0.050), ('tin','250 g',0.120), ('scale','to 0.1 g',0.680),
  ('cup','porcelain',0.180), ('tray','bamboo',0.900), ('towel',NULL,0.075);
INSERT INTO inventory.products_on_hand (product_id, quantity) SELECT id, 1000 FROM inventory.products;
INSERT INTO inventory.orders (purchaser, quantity, product_id) VALUES (1001,1,102), (1002,2,105), (1003,2,106), (1004,1,107);
`

// shop makes changes as a small shop does. Equal seeds make equal changes.
type shop struct {
	conn    *pgx.Conn
	rand    *rand.Rand
	changes int // Rows inserted, updated and deleted so far.
}

func newShop(conn *pgx.Conn, seed uint64) *shop {
	return &shop{conn: conn, rand: rand.New(rand.NewPCG(seed, 1))}
}

// open creates the tables and their first rows, and returns how many rows those are.
func (s *shop) open(ctx context.Context) (int, error) {
	if _, err := s.conn.Exec(ctx, shopSchema); err != nil {
		return 0, fmt.Errorf("creating the shop's tables: %w", err)
	}
	total := 0
	for _, t := range shopTables {
		n, err := s.count(ctx, t)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// count returns the number of rows a table holds now.
func (s *shop) count(ctx context.Context, table string) (n int, err error) {
	err = s.conn.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{"inventory", table}.Sanitize()).Scan(&n)
	return n, err
}

// business is one thing that happens in the shop, as one transaction.
type business struct {
	weight     int
	statements []string
}

// The statements pick their rows by $1, a number the shop draws: the same number
// picks the same rows in all statements of the transaction.
var everyday = []business{
	{50, []string{ // Somebody orders.
		`INSERT INTO inventory.orders (purchaser, quantity, product_id)
		 SELECT c.id, 1 + $1::int % 4, p.id FROM
		 (SELECT id FROM inventory.customers ORDER BY id OFFSET $1::int % (SELECT count(*) FROM inventory.customers) LIMIT 1) c,
		 (SELECT id FROM inventory.products ORDER BY id OFFSET $1::int % 9 LIMIT 1) p`,
		`UPDATE inventory.products_on_hand SET quantity = quantity - (1 + $1::int % 4), counted_at = clock_timestamp()
		 WHERE product_id = (SELECT id FROM inventory.products ORDER BY id OFFSET $1::int % 9 LIMIT 1)`,
	}},
	{15, []string{ // An order is changed; another customer takes it over.
		`UPDATE inventory.orders SET quantity = 1 + $1::int % 7,
		 purchaser = (SELECT id FROM inventory.customers ORDER BY id OFFSET $1::int % (SELECT count(*) FROM inventory.customers) LIMIT 1)
		 WHERE id = (SELECT id FROM inventory.orders ORDER BY id DESC OFFSET $1::int % 20 LIMIT 1)`,
	}},
	{15, []string{ // An order is cancelled.
		`WITH gone AS (DELETE FROM inventory.orders WHERE id = (SELECT id FROM inventory.orders ORDER BY id OFFSET 1 + $1::int % 5 LIMIT 1)
		 RETURNING product_id, quantity)
		 UPDATE inventory.products_on_hand h SET quantity = h.quantity + gone.quantity FROM gone WHERE h.product_id = gone.product_id`,
	}},
	{10, []string{ // Somebody new.
		`INSERT INTO inventory.customers (first_name, last_name, email)
		 VALUES ('Guest', 'No. ' || $1::int, 'guest' || $1::int || '.' || nextval('inventory.customers_id_seq') || '@example.com')`,
	}},
	{10, []string{ // Somebody moves to another address, an article gets heavier.
		`UPDATE inventory.customers SET email = 'c' || id || '.' || $1::int || '@example.net'
		 WHERE id = (SELECT id FROM inventory.customers ORDER BY id OFFSET $1::int % 4 LIMIT 1)`,
		`UPDATE inventory.products SET weight = ($1::int % 5000) / 1000.0, description = NULLIF('batch ' || $1::int % 3, 'batch 0')
		 WHERE id = (SELECT id FROM inventory.products ORDER BY id OFFSET $1::int % 9 LIMIT 1)`,
	}},
}

// trade does one thing and counts the changes it makes.
func (s *shop) trade(ctx context.Context) error {
	n, pick := s.rand.IntN(100), everyday[0]
	for _, b := range everyday {
		if pick = b; n < b.weight {
			break
		}
		n -= b.weight
	}
	number := s.rand.IntN(1 << 20)
	return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		for _, sql := range pick.statements {
			tag, err := tx.Exec(ctx, sql, number)
			if err != nil {
				return fmt.Errorf("trading: %w", err)
			}
			s.changes += int(tag.RowsAffected())
			if len(sql) > 4 && sql[:4] == "WITH" { // The order deleted beside the article updated.
				s.changes += int(tag.RowsAffected())
			}
		}
		return nil
	})
}
