-- What a role makes in `public` to be called by others: operators for every pair of these types, and functions of the names that monban's
-- own functions call, of each of these types. PostgreSQL takes such a one if it fits what is written better than its own.
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE ROLE stranger;
SET ROLE stranger;

DO $$
DECLARE
  kinds CONSTANT text[] := '{bytea,bigint,integer,smallint,text,boolean,"\"char\"",tid,double precision,numeric,oid,xid,regprocedure,name,timestamptz,bytea[],bigint[],text[],boolean[]}';
  body CONSTANT text := quote_literal('BEGIN RAISE EXCEPTION ''a stranger is called''; END');
  result text;
  l text;
  r text;
  what text;
BEGIN
  FOREACH l IN ARRAY kinds LOOP
    FOREACH r IN ARRAY kinds LOOP
      FOREACH what IN ARRAY '{=,<>,<,<=,>,>=,+,-,*,/,||}'::text[] LOOP
        result := CASE WHEN what IN ('+', '-', '*', '/') THEN 'bigint' WHEN what = '||' THEN 'text' ELSE 'boolean' END;
        EXECUTE format('CREATE OR REPLACE FUNCTION public.stranger_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %s', result, l, r, result, body);
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.stranger_%s)', what, l, r, result);
      END LOOP;
    END LOOP;
    FOREACH what IN ARRAY '{cardinality,unnest,max,min,sum,count,bool_and,encode,date_part}'::text[] LOOP
      EXECUTE format('CREATE FUNCTION public.%s(%s) RETURNS bigint LANGUAGE plpgsql AS %s', what, l, body);
    END LOOP;
  END LOOP;
END $$;

RESET ROLE;
