-- Four sessions; each statement has the number of its session before it.
0 CREATE TYPE mood AS ENUM ('well', 'so so')
0 CREATE TABLE item (id integer PRIMARY KEY, name text, mood mood)
0 CREATE TABLE twin (name text)
0 ALTER TABLE twin REPLICA IDENTITY FULL
0 CREATE TABLE gone (id integer PRIMARY KEY)
-- SLOT
1 BEGIN
1 INSERT INTO item VALUES (1, 'kept', 'well')
2 BEGIN
2 INSERT INTO twin VALUES ('of another'), ('of another')
1 SAVEPOINT back
1 INSERT INTO item VALUES (2, 'taken back', NULL)
1 SAVEPOINT within
1 UPDATE item SET name = 'taken back' WHERE id = 1
1 RELEASE within
1 ROLLBACK TO back
1 SAVEPOINT again
1 INSERT INTO item VALUES (2, 'kept at last', 'so so')
1 RELEASE again
2 SAVEPOINT s
2 DELETE FROM twin WHERE ctid = '(0,1)'
2 RELEASE s
0 INSERT INTO gone VALUES (1), (2)
3 BEGIN
3 INSERT INTO item VALUES (30, 'never', 'well')
2 ALTER TABLE twin ADD note text
2 INSERT INTO twin VALUES ('altered', 'by itself')
3 SAVEPOINT s
3 INSERT INTO item VALUES (31, 'never', 'well')
1 TRUNCATE gone
1 SELECT pg_logical_emit_message(true, 'theirs', 'no change of a table')
1 UPDATE item SET id = 3, name = E'a\ttab' WHERE id = 2
2 COMMIT
3 ROLLBACK
1 COMMIT
0 BEGIN
0 INSERT INTO twin VALUES ('prepared', NULL)
0 UPDATE item SET mood = 'so so'
0 PREPARE TRANSACTION 'later'
0 COMMIT PREPARED 'later'
0 BEGIN
0 SELECT pg_logical_emit_message(true, 'alone', 'in its transaction')
0 COMMIT
