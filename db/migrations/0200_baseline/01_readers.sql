-- Functions that read values: the figures, dates and ids of the raw tables and of upstream's answers, whatever they hold.

-- Of an answer only the rows of a page that failed as a whole come this way. What cannot be read becomes NULL here, and is
-- counted and named by the caller; what PostgreSQL says of one value must cost that value alone.
CREATE FUNCTION prop_trading_model.recon_number(value text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    -- What PostgreSQL surely holds needs no exception block, which costs a subtransaction each time.
    IF value ~ '^[+-]?[0-9]{1,250}(\.[0-9]{1,250})?([eE][+-]?[0-9]{1,3})?$' THEN
        RETURN value::numeric;
    END IF;
    BEGIN
        RETURN value::numeric;
    EXCEPTION WHEN data_exception THEN
        RETURN NULL;
    END;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_number IS
    'a number from its text; NULL if it is none, or one that PostgreSQL cannot hold';

CREATE FUNCTION prop_trading_model.recon_date(value text) RETURNS date
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN substring(value from '^\d{4}-?\d{2}-?\d{2}')::date;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_date IS 'the date part of a text; NULL if there is no such date';

CREATE FUNCTION prop_trading_model.recon_timestamp(value text) RETURNS timestamp
LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- PostgreSQL also takes words such as now or yesterday for times.
    IF value !~ '^\d{4}-?\d{2}-?\d{2}' THEN
        RETURN NULL;
    END IF;
    IF value ~ '\d:\d\d.*[+-]\d\d(:?\d\d)?$' THEN
        RETURN value::timestamptz AT TIME ZONE 'UTC';
    END IF;
    RETURN value::timestamp;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_timestamp IS 'a time in UTC from its text; NULL if it is none';

CREATE FUNCTION prop_trading_model.recon_figure(value text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    figure numeric := prop_trading_model.recon_number(value);
BEGIN
    -- Sums of figures must not overflow; NaN is above every number.
    RETURN CASE WHEN abs(figure) < 1e1000 THEN figure END;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_figure IS
    'a number that can be compared and summed up, from its text; NULL if it is none';

-- A count of trades as the tables are compared by it, whatever type its column has. A missing one is 0, and one that counts
-- nothing (NaN) too; one beyond a trillion is a trillion, so that no sum overflows. Of a column of integers it is the value
-- itself, at no cost: the planner sees through.
CREATE FUNCTION prop_trading_model.recon_count(value smallint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(value, 0::smallint)::integer;
CREATE FUNCTION prop_trading_model.recon_count(value integer) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(value, 0);
CREATE FUNCTION prop_trading_model.recon_count(value bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(coalesce(value, 0), 1000000000000), -1000000000000);
CREATE FUNCTION prop_trading_model.recon_count(value numeric) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(coalesce(nullif(value, 'NaN'), 0), 1000000000000), -1000000000000)::bigint;
CREATE FUNCTION prop_trading_model.recon_count(value double precision) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(coalesce(nullif(value, 'NaN'), 0), 1000000000000), -1000000000000)::bigint;
CREATE FUNCTION prop_trading_model.recon_count(value real) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(least(coalesce(nullif(value, 'NaN'), 0), 1000000000000), -1000000000000)::bigint;
COMMENT ON FUNCTION prop_trading_model.recon_count(numeric) IS
    'a count of trades that can be summed: 0 for NULL and NaN, a trillion for what is beyond';

-- A placeholder is told by its own row's natural key, never by its look: ids of 32 hex digits may be a firm's real ids.
CREATE FUNCTION prop_trading_model.recon_is_placeholder(account_id text, login text, platform text, broker text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN account_id = ''
    OR coalesce(account_id = login, false)
    -- The length first: it spares the MD5 of most ids.
    OR char_length(account_id) = 32 AND coalesce(
        lower(account_id) = md5(login || '|' || platform || '|' || coalesce(broker, ''))
            OR coalesce(broker, '') = '' AND lower(account_id) = md5(login || '|' || platform),
        false
    );
COMMENT ON FUNCTION prop_trading_model.recon_is_placeholder IS
    'whether a row''s account id may stand in for an unknown one: it is the MD5 of the row''s own natural key, its login, or nothing';
