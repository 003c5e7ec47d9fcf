-- Which change of its film's stock a line was: the books replay them in this order.
alter table taken add column version int;
