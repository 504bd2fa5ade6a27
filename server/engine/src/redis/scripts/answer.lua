-- Answers a question of another server, in the stream of its answers. ARGV: the token of the asker,
-- the number of the question, the token of this server, the text, the maximum number of answers in
-- the stream, and how many seconds it is kept.
local asker, number, token, answer, max, seconds = take(), take(), take(), take(), take(), take()
local answers = key('answers', asker)
redis.call('XADD', answers, 'MAXLEN', max, '*', 'q', number, 'by', token, 'text', answer)
redis.call('EXPIRE', answers, seconds)
return 0
