-- What an application asks of a database file: bulk insert, index, join, update.
PRAGMA journal_mode = MEMORY;
CREATE TABLE item (id INTEGER PRIMARY KEY, kind INTEGER, name TEXT, price REAL);
CREATE TABLE sale (id INTEGER PRIMARY KEY, item INTEGER, amount INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, i * 7919 % 97, 'item ' || (i * 104729 % 100003), (i * 31 % 1000) / 8.0 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
INSERT INTO sale SELECT i, 1 + i * 6007 % 20000, i % 13 FROM n;
COMMIT;
CREATE INDEX sale_item ON sale (item);
CREATE INDEX item_name ON item (name);
SELECT kind, count(*), sum(amount * price) FROM item JOIN sale ON sale.item = item.id GROUP BY kind ORDER BY 3 DESC, 1 LIMIT 5;
SELECT count(*) FROM item WHERE name LIKE 'item 77%' OR name GLOB '*99';
UPDATE item SET price = price * 1.25 WHERE kind % 3 = 1;
DELETE FROM sale WHERE amount = 0;
SELECT sum(price), max(name), min(name) FROM item;
SELECT name, total FROM (SELECT item, sum(amount) AS total FROM sale GROUP BY item) JOIN item ON item = id ORDER BY total DESC, name LIMIT 5;
PRAGMA integrity_check;
