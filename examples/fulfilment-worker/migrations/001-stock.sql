create table stock (
  film_id   int primary key,
  seeded    int not null,
  remaining int not null check (remaining >= 0),
  version   int not null default 0
);
-- One line for each order that took stock: what the books are checked against.
create table taken (
  order_id uuid primary key,
  film_id  int not null references stock,
  quantity int not null check (quantity > 0),
  taken_at timestamptz not null default clock_timestamp()
);
-- When each version of a stock became true: what the pages that customers saw are checked against.
create table stock_history (
  film_id    int not null,
  version    int not null,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (film_id, version)
);
