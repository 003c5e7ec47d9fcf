create table orders (
  id              uuid primary key,
  idempotency_key text not null unique,
  film_id         int not null,
  quantity        int not null check (quantity > 0),
  price_cents     int not null check (price_cents > 0),
  status          text not null default 'placed' check (status in ('placed', 'fulfilled', 'rejected')),
  -- How often a settlement took effect: 1 for every settled order, or the books do not balance.
  settlements     int not null default 0,
  placed_at       timestamptz not null default clock_timestamp(),
  settled_at      timestamptz
);
create index orders_placed on orders (placed_at) where status = 'placed';
