-- What is built after the load: indexes, keys, triggers, policies, views, comments, grants.
ALTER TABLE auth.users ADD CONSTRAINT users_email_key UNIQUE (email);
CREATE INDEX users_meta_idx ON auth.users USING gin (raw_user_meta_data);
ALTER TABLE storage.objects ADD CONSTRAINT objects_bucket_fkey FOREIGN KEY (bucket_id) REFERENCES storage.buckets;
CREATE UNIQUE INDEX objects_bucket_name_idx ON storage.objects (bucket_id, name);
GRANT REFERENCES, SELECT ON auth.users TO edurise_owner;
GRANT SELECT (id, email) ON auth.users TO "edurise analyst";
GRANT ALL ON storage.buckets, storage.objects TO service_role WITH GRANT OPTION;
GRANT SELECT ON storage.buckets, storage.objects TO anon, authenticated;

SET ROLE edurise_owner;
ALTER TABLE public.profiles ADD FOREIGN KEY (user_id) REFERENCES auth.users ON DELETE CASCADE;
ALTER TABLE public.courses ADD FOREIGN KEY (teacher_id) REFERENCES auth.users;
ALTER TABLE public.lessons
    ADD CONSTRAINT lessons_course_fkey FOREIGN KEY (course_id) REFERENCES public.courses ON DELETE CASCADE,
    ADD CONSTRAINT lessons_order UNIQUE (course_id, position) DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX lessons_words_idx ON public.lessons USING gin (words);
ALTER TABLE public.enrollments
    ADD PRIMARY KEY (user_id, course_id),
    ADD FOREIGN KEY (user_id) REFERENCES auth.users ON DELETE CASCADE,
    ADD FOREIGN KEY (course_id) REFERENCES public.courses;
CREATE INDEX enrollments_course_idx ON public.enrollments (course_id) INCLUDE (progress);
ALTER TABLE public.submissions
    ADD FOREIGN KEY (lesson_id) REFERENCES public.lessons,
    ADD FOREIGN KEY (user_id) REFERENCES auth.users ON DELETE CASCADE;
CREATE INDEX submissions_user_idx ON public.submissions (user_id, submitted_at DESC);
CREATE INDEX submissions_open_idx ON public.submissions (submitted_at) WHERE state = 'handed in';
CREATE INDEX submissions_language_idx ON public.submissions ((answers ->> 'language'));
ALTER TABLE public.grade_changes
    ADD FOREIGN KEY (submission_id) REFERENCES public.submissions ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE public.attachments ADD FOREIGN KEY (lesson_id) REFERENCES public.lessons;
ALTER TABLE public.recordings ADD FOREIGN KEY (lesson_id) REFERENCES public.lessons;
ALTER TABLE public.room_bookings
    ADD FOREIGN KEY (successor) REFERENCES public.room_bookings DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE public.certificates ADD FOREIGN KEY (user_id, course_id) REFERENCES public.enrollments NOT VALID;
ALTER TABLE public.activity ADD PRIMARY KEY (id, happened_at);
CREATE INDEX activity_user_idx ON public.activity (user_id, happened_at);
CREATE INDEX activity_time_idx ON public.activity USING brin (happened_at);
CREATE STATISTICS public.enrollments_dependencies (dependencies) ON user_id, course_id FROM public.enrollments;

CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.note_grade_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO public.grade_changes (submission_id, before, after, changed_at)
        VALUES (NEW.id, OLD.points, NEW.points, NEW.updated_at);
    RETURN NULL;
END $$;
CREATE FUNCTION public.greet_new_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO public.profiles (user_id, given_name, family_name, updated_at)
        VALUES (NEW.id, NEW.raw_user_meta_data ->> 'given_name', NEW.raw_user_meta_data ->> 'family_name', NEW.created_at);
    RETURN NEW;
END $$;
CREATE PROCEDURE public.close_course(course integer) LANGUAGE sql
    AS $$ UPDATE public.enrollments SET progress = 1 WHERE course_id = course $$;
CREATE AGGREGATE public.best_grade(public.grade) (SFUNC = numeric_larger, STYPE = numeric);
CREATE TRIGGER courses_touch BEFORE UPDATE ON public.courses FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER submissions_touch BEFORE UPDATE ON public.submissions FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER submissions_grade AFTER UPDATE OF points ON public.submissions
    FOR EACH ROW WHEN (OLD.points IS DISTINCT FROM NEW.points) EXECUTE FUNCTION public.note_grade_change();
CREATE TRIGGER lessons_touch BEFORE UPDATE ON public.lessons FOR EACH ROW EXECUTE FUNCTION public.touch();
ALTER TABLE public.lessons DISABLE TRIGGER lessons_touch;

ALTER TABLE public.profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.submissions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.room_bookings ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.room_bookings FORCE ROW LEVEL SECURITY;
CREATE POLICY bookings_of_today ON public.room_bookings FOR SELECT TO authenticated
    USING (upper(during) > statement_timestamp());
CREATE POLICY profiles_are_public ON public.profiles FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY own_profile ON public.profiles FOR UPDATE TO authenticated
    USING (user_id = auth.uid()) WITH CHECK (user_id = auth.uid());
CREATE POLICY own_submissions ON public.submissions TO authenticated USING (user_id = auth.uid());
CREATE POLICY drafts_only ON public.submissions AS RESTRICTIVE FOR DELETE TO authenticated USING (state = 'draft');

CREATE VIEW public.course_catalogue WITH (security_invoker = true) AS
    SELECT c.id, c.slug::text AS slug, c.title, p.display_name AS teacher, count(l.id) AS lessons
    FROM public.courses c JOIN public.profiles p ON p.user_id = c.teacher_id
    LEFT JOIN public.lessons l ON l.course_id = c.id GROUP BY c.id, p.display_name;
CREATE MATERIALIZED VIEW public.course_results AS
    SELECT l.course_id, s.state, count(*) AS submissions, round(avg(s.points), 3) AS average, max(s.submitted_at) AS latest
    FROM public.submissions s JOIN public.lessons l ON l.id = s.lesson_id GROUP BY l.course_id, s.state WITH NO DATA;
CREATE UNIQUE INDEX course_results_idx ON public.course_results (course_id, state);
CREATE RULE certificates_are_kept AS ON DELETE TO public.certificates DO INSTEAD NOTHING;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO authenticated, service_role;
GRANT INSERT, UPDATE ON public.submissions TO authenticated;
GRANT UPDATE (given_name, family_name) ON public.profiles TO authenticated;
REVOKE ALL ON FUNCTION public.note_grade_change() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.letter_grade(public.grade) TO anon;

COMMENT ON TABLE public.submissions IS 'What learners hand in; the largest table. "Quotes" and ''apostrophes'' stay.';
COMMENT ON COLUMN public.submissions.answers IS 'One entry per question; free text in several languages: é, ß, 漢字';
COMMENT ON TYPE public.submission_state IS 'The way of a submission';
COMMENT ON DOMAIN public.grade IS '0 to 20 points';
COMMENT ON FUNCTION public.letter_grade(public.grade) IS 'Letter for points';
COMMENT ON TRIGGER submissions_grade ON public.submissions IS 'Keeps a trail of changed grades';
COMMENT ON POLICY own_submissions ON public.submissions IS 'Learners see what is theirs';
COMMENT ON CONSTRAINT lessons_order ON public.lessons IS 'Deferred, so that lessons can change places';
COMMENT ON INDEX public.submissions_open_idx IS 'The teachers'' queue';
COMMENT ON MATERIALIZED VIEW public.course_results IS 'Refreshed at night';
COMMENT ON SEQUENCE public.certificate_number IS 'Steps of seven: numbers cannot be guessed by counting';
RESET ROLE;

CREATE TRIGGER users_greet AFTER INSERT ON auth.users FOR EACH ROW EXECUTE FUNCTION public.greet_new_user();
ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;
CREATE POLICY public_buckets ON storage.objects FOR SELECT TO anon
    USING (EXISTS (SELECT FROM storage.buckets b WHERE b.id = bucket_id AND b.public));
CREATE POLICY own_uploads ON storage.objects FOR INSERT TO authenticated
    WITH CHECK (bucket_id = 'submissions' AND owner = auth.uid());
CREATE PUBLICATION edurise_realtime FOR TABLE public.submissions, public.enrollments WITH (publish = 'insert, update');
COMMENT ON SCHEMA storage IS 'Buckets and the names, sizes and types of the files in them';

CREATE FUNCTION public.announce_schema_change() RETURNS event_trigger LANGUAGE plpgsql
    AS $$ BEGIN NOTIFY edurise_schema, 'changed'; END $$;
CREATE EVENT TRIGGER edurise_schema_watch ON ddl_command_end EXECUTE FUNCTION public.announce_schema_change();
