-- Readers that survive every text: what PostgreSQL says of one value must cost that value alone, not the page in which it came.

CREATE OR REPLACE FUNCTION prop_trading_model.recon_number(value text) RETURNS numeric
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

CREATE OR REPLACE FUNCTION prop_trading_model.recon_date(value text) RETURNS date
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN substring(value from '^\d{4}-?\d{2}-?\d{2}')::date;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION prop_trading_model.recon_timestamp(value text) RETURNS timestamp
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

CREATE OR REPLACE FUNCTION prop_trading_model.recon_figure(value text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    figure numeric := prop_trading_model.recon_number(value);
BEGIN
    -- Sums of figures must not overflow; NaN is above every number.
    RETURN CASE WHEN abs(figure) < 1e1000 THEN figure END;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_figure IS 'a number that can be compared and summed up, from its text; NULL if it is none';
