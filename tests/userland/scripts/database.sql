PRAGMA page_size = 1024;
CREATE TABLE a (id INTEGER PRIMARY KEY, word TEXT UNIQUE, value REAL, data BLOB);
CREATE TABLE b (a_id INTEGER REFERENCES a, n INTEGER);
CREATE TRIGGER t AFTER INSERT ON b BEGIN UPDATE a SET value = value + NEW.n / 16.0 WHERE id = NEW.a_id; END;
BEGIN;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 4000)
INSERT INTO a SELECT i, printf('%05x-%d', i * 7907 % 65536, i), i / 7.0, CAST(hex(i * 31) AS BLOB) FROM c;
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 6000)
INSERT INTO b SELECT 1 + i * 6007 % 4000, i % 101 - 50 FROM c;
COMMIT;
CREATE INDEX ib ON b (n, a_id);
SELECT n, count(*), total(value), group_concat(word, ',') FROM b JOIN a ON a.id = a_id WHERE n BETWEEN -2 AND 2 GROUP BY n ORDER BY n;
SELECT substr(word, 1, 2) AS p, avg(value), max(length(data)) FROM a GROUP BY p ORDER BY 2 DESC LIMIT 5;
SELECT id, sum(value) OVER (ORDER BY id ROWS 3 PRECEDING), rank() OVER (ORDER BY word) FROM a LIMIT 5 OFFSET 1000;
SELECT json_group_array(json_object('w', word, 'v', round(value, 3))) FROM a WHERE id < 4;
SELECT sin(1), exp(2.5), ln(10), pow(2, 0.5), 10 / 3, 10 / 3.0, -7 % 3, 9223372036854775807 + 1, hex(zeroblob(3)), 0.1 + 0.2;
DELETE FROM b WHERE n > 30;
SAVEPOINT s; UPDATE a SET word = upper(word); ROLLBACK TO s;
INSERT OR IGNORE INTO a SELECT id, word, 0, NULL FROM a;
VACUUM;
PRAGMA integrity_check;
PRAGMA foreign_key_check;
.dump
