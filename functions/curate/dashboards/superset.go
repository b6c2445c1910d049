package dashboards

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds in bytes: of what is read of one answer, and of one file of an export when it is unpacked.
const (
	answerLimit = 64 << 20
	fileLimit   = 64 << 20
)

// Superset is a Superset that somebody has logged in to.
type Superset struct {
	base   *url.URL
	client *http.Client
	token  string
	csrf   string
}

// Login logs in with a user of Superset's own database. The password appears in no error.
func Login(ctx context.Context, address, user, password string) (*Superset, error) {
	base, err := url.Parse(address)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, errors.New("the address of Superset must be http(s)://host:port")
	}
	if base.User != nil {
		return nil, errors.New("the address of Superset has credentials in it; user and password are given apart")
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	s := &Superset{base: base, client: &http.Client{Jar: jar, Timeout: 5 * time.Minute}}
	body, err := json.Marshal(map[string]any{"username": user, "password": password, "provider": "db", "refresh": false})
	if err != nil {
		return nil, err
	}
	var login struct {
		Token string `json:"access_token"`
	}
	if err := s.call(ctx, http.MethodPost, "api/v1/security/login", nil, "application/json", body, &login); err != nil {
		return nil, fmt.Errorf("log in to %s as %s: %w", base.Redacted(), user, err)
	}
	if login.Token == "" {
		return nil, fmt.Errorf("log in to %s as %s: the answer has no token", base.Redacted(), user)
	}
	s.token = login.Token
	var csrf struct {
		Result string `json:"result"`
	}
	// Where Superset wants no such token, a login is enough, and it may have none to give.
	if err := s.call(ctx, http.MethodGet, "api/v1/security/csrf_token/", nil, "", nil, &csrf); err != nil && !errors.As(err, new(*statusError)) {
		return nil, fmt.Errorf("ask %s for a token: %w", base.Redacted(), err)
	}
	s.csrf = csrf.Result
	return s, nil
}

type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string {
	if e.text == "" {
		return fmt.Sprintf("HTTP %d", e.status)
	}
	return fmt.Sprintf("HTTP %d: %s", e.status, e.text)
}

// call sends a request and decodes the JSON of its answer into answer, or puts the answer's bytes there where it is a *[]byte.
func (s *Superset) call(ctx context.Context, method, path string, query url.Values, contentType string, body []byte, answer any) error {
	u := s.base.JoinPath(path)
	u.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("Accept", "application/json, application/zip")
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	if s.csrf != "" {
		request.Header.Set("X-CSRFToken", s.csrf)
		request.Header.Set("Referer", s.base.String())
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, answerLimit+1))
	switch {
	case err != nil:
		return err
	case response.StatusCode/100 != 2:
		return &statusError{response.StatusCode, reason(content)}
	case len(content) > answerLimit:
		return fmt.Errorf("the answer is larger than %d bytes", answerLimit)
	}
	if raw, ok := answer.(*[]byte); ok {
		*raw = content
		return nil
	}
	if err := json.Unmarshal(content, answer); err != nil {
		return fmt.Errorf("the answer to %s %s is not the JSON that Superset gives: %w", method, path, err)
	}
	return nil
}

// reason finds what Superset says of a failure in the several forms that it has for it.
func reason(content []byte) string {
	var told struct {
		Message any `json:"message"`
		Errors  []struct {
			Message string `json:"message"`
			Extra   any    `json:"extra"`
		} `json:"errors"`
	}
	if json.Unmarshal(content, &told) != nil {
		return shorten(strings.Join(strings.Fields(string(content)), " "))
	}
	var parts []string
	switch m := told.Message.(type) {
	case nil:
	case string:
		parts = append(parts, m)
	default:
		if b, err := json.Marshal(m); err == nil {
			parts = append(parts, string(b))
		}
	}
	for _, e := range told.Errors {
		text := e.Message
		if extra, ok := e.Extra.(map[string]any); ok {
			delete(extra, "issue_codes")
			if b, err := json.Marshal(extra); err == nil && len(extra) > 0 {
				text += " " + string(b)
			}
		}
		parts = append(parts, text)
	}
	return shorten(strings.Join(parts, "; "))
}

func shorten(s string) string {
	const most = 1000
	if len(s) > most {
		s = s[:most] + " ..."
	}
	return strings.ToValidUTF8(s, "")
}

// Import brings a bundle in, in one transaction, and overwrites what an earlier one brought. passwords are by path of a database's file.
func (s *Superset) Import(ctx context.Context, files map[string][]byte, passwords map[string]string) error {
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create("millrace/" + name)
		if err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := w.Write(files[name]); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("pack the bundle: %w", err)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("bundle", "millrace.zip")
	if err != nil {
		return fmt.Errorf("pack the bundle: %w", err)
	}
	if _, err := part.Write(archive.Bytes()); err != nil {
		return fmt.Errorf("pack the bundle: %w", err)
	}
	if len(passwords) > 0 {
		secret, err := json.Marshal(passwords)
		if err != nil {
			return err
		}
		if err := form.WriteField("passwords", string(secret)); err != nil {
			return fmt.Errorf("pack the bundle: %w", err)
		}
	}
	if err := form.Close(); err != nil {
		return fmt.Errorf("pack the bundle: %w", err)
	}
	var answer map[string]any
	if err := s.call(ctx, http.MethodPost, "api/v1/assets/import/", nil, form.FormDataContentType(), body.Bytes(), &answer); err != nil {
		return fmt.Errorf("import %d files: %w", len(files), err)
	}
	return nil
}

// Export returns the dashboards with all that they need, by path.
func (s *Superset) Export(ctx context.Context, slugs []string) (map[string][]byte, error) {
	ids := make([]string, 0, len(slugs))
	for _, slug := range slugs {
		var answer struct {
			Result struct {
				ID int `json:"id"`
			} `json:"result"`
		}
		if err := s.call(ctx, http.MethodGet, "api/v1/dashboard/"+url.PathEscape(slug), nil, "", nil, &answer); err != nil {
			return nil, fmt.Errorf("look for the dashboard %s: %w", slug, err)
		}
		ids = append(ids, strconv.Itoa(answer.Result.ID))
	}
	var archive []byte
	if err := s.call(ctx, http.MethodGet, "api/v1/dashboard/export/", url.Values{"q": {"!(" + strings.Join(ids, ",") + ")"}}, "", nil, &archive); err != nil {
		return nil, fmt.Errorf("export the dashboards %s: %w", strings.Join(slugs, ", "), err)
	}
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return nil, fmt.Errorf("read the export: %w", err)
	}
	files := map[string][]byte{}
	for _, f := range z.File {
		_, name, ok := strings.Cut(f.Name, "/")
		if !ok || strings.Contains(name, "..") || strings.HasSuffix(name, "/") {
			continue
		}
		content, err := unpack(f)
		if err != nil {
			return nil, fmt.Errorf("read the export's %s: %w", name, err)
		}
		files[name] = content
	}
	return files, nil
}

func unpack(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, fileLimit+1))
	if err == nil && len(content) > fileLimit {
		err = fmt.Errorf("it is larger than %d bytes", fileLimit)
	}
	return content, errors.Join(err, r.Close())
}

// Chart is what one chart of a dashboard answered.
type Chart struct {
	Dashboard string           // its slug
	ID        int              // in this Superset
	Name      string           // its title
	Columns   []string         // of the answer
	Rows      []map[string]any // by column
	Query     string           // the SQL that was run
	Err       error            // why there is no answer
}

// Charts asks every chart of the dashboards for its data, past all caches, in order of dashboard and title. A chart that fails is a Chart with Err; the error is about the dashboards.
func (s *Superset) Charts(ctx context.Context, slugs []string) ([]Chart, error) {
	var all []Chart
	for _, slug := range slugs {
		var list struct {
			Result []struct {
				ID   int    `json:"id"`
				Name string `json:"slice_name"`
			} `json:"result"`
		}
		if err := s.call(ctx, http.MethodGet, "api/v1/dashboard/"+url.PathEscape(slug)+"/charts", nil, "", nil, &list); err != nil {
			return nil, fmt.Errorf("list the charts of %s: %w", slug, err)
		}
		if len(list.Result) == 0 {
			return nil, fmt.Errorf("the dashboard %s has no charts", slug)
		}
		of := make([]Chart, 0, len(list.Result))
		for _, c := range list.Result {
			of = append(of, s.ask(ctx, Chart{Dashboard: slug, ID: c.ID, Name: c.Name}))
		}
		slices.SortFunc(of, func(a, b Chart) int { return strings.Compare(a.Name, b.Name) })
		all = append(all, of...)
	}
	return all, nil
}

func (s *Superset) ask(ctx context.Context, c Chart) Chart {
	var answer struct {
		Result []struct {
			Columns []string         `json:"colnames"`
			Data    []map[string]any `json:"data"`
			Query   string           `json:"query"`
			Error   string           `json:"error"`
		} `json:"result"`
	}
	err := s.call(ctx, http.MethodGet, "api/v1/chart/"+strconv.Itoa(c.ID)+"/data/", url.Values{"force": {"true"}}, "", nil, &answer)
	switch {
	case err != nil:
		c.Err = fmt.Errorf("chart %s: %w", c.Name, err)
	case len(answer.Result) != 1:
		c.Err = fmt.Errorf("chart %s: %d results in place of one", c.Name, len(answer.Result))
	case answer.Result[0].Error != "":
		c.Err = fmt.Errorf("chart %s: %s", c.Name, shorten(answer.Result[0].Error))
	default:
		c.Columns, c.Rows, c.Query = answer.Result[0].Columns, answer.Result[0].Data, answer.Result[0].Query
	}
	return c
}
