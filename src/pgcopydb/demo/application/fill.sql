-- What the shop has when the demonstration begins.

insert into shop.customers (name, email, country, balance, tags, profile, joined)
select 'Customer ' || i, 'customer' || i || '@example.org',
       (array['DE', 'FR', 'PL', 'US', 'JP'])[1 + i % 5], i % 1000 / 7.0,
       case when i % 3 = 0 then array['regular', 'n°' || i % 10] else '{}' end,
       jsonb_build_object('newsletter', i % 2 = 0, 'visits', i % 50, 'notes', null),
       timestamptz '2020-01-01 00:00:00Z' + i * interval '1 hour'
from generate_series(1, :customers) as i;

insert into shop.products (id, title, price, stock, description)
select i, 'Product ' || i, 1 + i % 200 / 4.0, 1000000,
       (select string_agg(md5(i || ' ' || n), ' ') from generate_series(1, 120) as n)
from generate_series(1, :products) as i;

insert into shop.orders (customer_id, state, ordered)
select 1 + i % :customers, (array['paid', 'sent', 'returned'])[1 + i % 3]::shop.order_state,
       timestamptz '2024-01-01 00:00:00Z' + i * interval '10 minutes'
from generate_series(1, :orders) as i;

insert into shop.order_lines (order_id, line, product_id, quantity, price)
select o.id, n, 1 + (o.id * n) % :products, 1 + o.id % 5, 1 + o.id % 200 / 4.0
from shop.orders as o, generate_series(1, 3) as n;

insert into shop.events (happened, kind, detail)
select timestamptz '2025-07-01 00:00:00Z' + i * interval '5 minutes', 'visit',
       jsonb_build_object('page', '/products/' || i % 500, 'referrer', md5(i::text))
from generate_series(1, :orders) as i;
