-- Readers of values that cannot be opened as they are: only the rows of a page that failed as a whole come this way.
-- What cannot be read becomes NULL here, and is counted and named by whoever asked.

CREATE FUNCTION prop_trading_model.recon_number(value text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    -- What PostgreSQL surely holds needs no exception block, which costs a subtransaction each time.
    IF value ~ '^[+-]?[0-9]{1,250}(\.[0-9]{1,250})?([eE][+-]?[0-9]{1,3})?$' THEN
        RETURN value::numeric;
    END IF;
    BEGIN
        RETURN value::numeric;
    EXCEPTION WHEN numeric_value_out_of_range OR invalid_text_representation THEN
        RETURN NULL;
    END;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_number IS 'a number from its text; NULL if it is none, or one that PostgreSQL cannot hold';

CREATE FUNCTION prop_trading_model.recon_date(value text) RETURNS date
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN substring(value from '^\d{4}-?\d{2}-?\d{2}')::date;
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
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
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format OR invalid_parameter_value THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_timestamp IS 'a time in UTC from its text; NULL if it is none';

CREATE FUNCTION prop_trading_model.recon_figure(value text) RETURNS numeric
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN prop_trading_model.recon_number(value) IS DISTINCT FROM 'NaN' THEN prop_trading_model.recon_number(value) END;
COMMENT ON FUNCTION prop_trading_model.recon_figure IS 'a number that can be compared, from its text; NULL if it is none';
