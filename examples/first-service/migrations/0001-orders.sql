create table orders (
  id uuid primary key,
  film text not null,
  shipped boolean not null default false
);
