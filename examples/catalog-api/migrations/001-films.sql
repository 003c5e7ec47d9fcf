create table films (
  id            int primary key,
  title         text not null,
  released_on   date,
  genre         text,
  director      text,
  rating        real,
  votes         int not null,
  price_cents   int not null check (price_cents > 0),
  -- A projection: fulfilment owns the stock and announces every change with a version.
  stock         int not null check (stock >= 0),
  stock_version int not null default 0,
  words         tsvector not null generated always as (to_tsvector('simple', title)) stored
);
create index films_words on films using gin (words);
