-- Every function, by each of its ways, in a session that looks into `public`: claims of each mode and of long life, alone and in
-- batches, are granted, wait, are renewed, checked, released and freed by hand; then all is lost, as in a crash, and comes back.
SELECT monban.opens_in();
SELECT monban.barred('k', NULL);
SELECT monban.prepare(60000000);
SELECT monban.attempt('{k1,k2}', '{a,b}', '{0,0}', '{0,0}', '{1000000,60000000}', '{t,t}', '{x,y}', false, true, true);
SELECT monban.attempt('{k1,k2}', '{a2,b2}', '{1,1}', '{3,3}', '{1000000,60000000}', '{t,t}', '{x,y}', true, false, false);
SELECT monban.attempt('{k4}', '{p}', '{1}', '{3}', '{3600000000}', '{t}', '{x}', true, false, false);
SELECT monban.attempt('{k4}', '{p2}', '{1}', '{3}', '{3600000000}', '{t}', '{x}', true, false, false);
SELECT monban.attempt('{k4}', '{p3}', '{3}', '{3}', '{3600000000}', '{t}', '{x}', true, false, false);
SELECT monban.attempt('{k5}', '{s}', '{1}', '{4294967295}', '{3600000000}', '{t}', '{x}', true, false, false);
SELECT monban.attempt_one('k3', '\x01', 60000000, true, 'who', true);
SELECT monban.attempt_one('k3', '\x02', 60000000, true, 'who', true);
SELECT monban.attempt_one('k3', '\x03', 3600000000, true, 'who', true);
SELECT monban.attempt_one('k3', '\x01', 60000000, true, 'who', true);
SELECT monban.show('k', NULL);
SELECT monban.fence_check('k3', h.fence), monban.fence_check('k3'::bytea, h.fence), public.monban_fence_check('k3', h.fence)
  FROM monban.head AS h WHERE h.key = 'k3';
SELECT monban.renew('{k3}', '{"\\x01"}', ARRAY[h.fence], '{60000000}', true, true) FROM monban.head AS h WHERE h.key = 'k3';
SELECT monban.renew('{k4}', '{p}', ARRAY[c.fence], '{60000000}', false, false) FROM monban.claim AS c WHERE c.id = 'p';
SELECT monban.release_one('k3', '\x01');
SELECT monban.release_one('k3', '\x02');
SELECT monban.attempt_one('k3', '\x03', 3600000000, true, 'who', true);
SELECT monban.release('{k1,k2}', '{a,b}', '{NULL,60000000}', true, true);
SELECT monban.evict('k2', 'b');
SELECT monban.evict('k4', 'p');
UPDATE monban.epoch SET swept = 0;
SELECT monban.sweep(100);
DELETE FROM monban.head;
DELETE FROM monban.claim;
DELETE FROM monban.epoch;
SELECT monban.prepare(60000000);
SELECT monban.opens_in();
